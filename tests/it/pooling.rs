//! Connections to endpoints are kept, used again and bounded.
