//! With `distill`, writes libtorch's folder into the binary, so that it runs without `LD_LIBRARY_PATH`.

use std::env;

fn main() {
    // Set by torch-sys, which is there only with the feature.
    if let Ok(lib) = env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
