//! dunning
