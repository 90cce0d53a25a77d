//! Bundle to plan on tract to findings; no sockets, no clock.
