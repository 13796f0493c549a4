//! One coarse timer wheel per worker, shared by every deadline of that worker.
