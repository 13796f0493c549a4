//! Connections that leave HTTP: WebSocket and other tunnels.
