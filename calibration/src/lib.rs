//! Observers, ranges, quantization parameters, tables.
