//! The timeline says what happened to a customer, in order, in words and links: the events of the log and the emails that
//! were sent. It keeps nothing and decides nothing; what it says of an event follows from the event alone.

mod body;
mod http;
mod links;
mod model;
mod service;
mod words;

pub use http::routes;
