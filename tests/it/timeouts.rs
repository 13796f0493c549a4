//! Every wait has an end, and its own answer.
