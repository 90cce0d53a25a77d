//! Compiles the C++ side against the libtorch that torch-sys found.

use std::{env, path::Path, thread};

fn main() {
    println!("cargo:rerun-if-changed=cpp");
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys tells where libtorch is");
    let root = Path::new(&lib).parent().expect("libtorch has include/ beside lib/");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}"); // for this crate's own tests
    // Optimising pays nothing here, every function only forwards; the files compile at the same time.
    thread::scope(|scope| {
        for name in ["math", "group", "profile"] {
            scope.spawn(move || {
                cc::Build::new()
                    .cpp(true)
                    .std("c++17")
                    .opt_level(0)
                    .warnings(false)
                    .include("cpp/stubs")
                    .include(root.join("include"))
                    .include(root.join("include/torch/csrc/api/include"))
                    .file(format!("cpp/{name}.cpp"))
                    .compile(&format!("torch_ext_{name}"));
            });
        }
    });
}
