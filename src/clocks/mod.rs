//! Test clocks let the time of some customers be moved by hand. They move it and have everything done that
//! falls due on the way; they do not know what that is.

pub mod service;
