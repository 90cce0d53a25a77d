//! What tch lacks: autocast, memory format, fused AdamW, c10d.
