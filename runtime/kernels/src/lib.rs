//! Int8 kernels; all unsafe code of what ships.
