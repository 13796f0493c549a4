//! What the program does for those who use it, seen through real sockets; one module per behaviour.

mod harness;
