//! Compiles the C++ side against the libtorch that torch-sys found: with NCCL where that one has CUDA.

use std::{
    env,
    path::{Path, PathBuf},
    thread,
};

fn main() {
    println!("cargo:rerun-if-changed=cpp");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    println!("cargo::rustc-check-cfg=cfg(nccl)");
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys tells where libtorch is");
    let root = Path::new(&lib).parent().expect("libtorch has include/ beside lib/");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}"); // for this crate's own tests
    let cuda = Path::new(&lib).join("libtorch_cuda.so").exists().then(|| cuda_headers(root));
    if cuda.is_some() {
        println!("cargo:rustc-cfg=nccl");
    }
    // Optimising pays nothing here, every function only forwards; the files compile at the same time.
    thread::scope(|scope| {
        for name in ["math", "group", "profile", "cuda"] {
            let cuda = cuda.as_ref().filter(|_| name == "cuda");
            scope.spawn(move || {
                let mut build = cc::Build::new();
                build
                    .cpp(true)
                    .std("c++17")
                    .opt_level(0)
                    .warnings(false)
                    .include("cpp/stubs")
                    .include(root.join("include"))
                    .include(root.join("include/torch/csrc/api/include"))
                    .file(format!("cpp/{name}.cpp"));
                if let Some(headers) = cuda {
                    build.includes(headers).define("TORCH_EXT_CUDA", None);
                }
                build.compile(&format!("torch_ext_{name}"));
            });
        }
    });
    if cuda.is_some() {
        println!("cargo:rustc-link-lib=dylib=c10_cuda"); // torch-sys links the rest
    }
}

/// Folders with the headers of CUDA and NCCL: beside the torch wheel, or of an installed toolkit.
fn cuda_headers(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(wheels) = root.parent().map(|packages| packages.join("nvidia")) {
        folders.extend([wheels.join("cu13/include"), wheels.join("nccl/include")]);
    }
    let toolkit = env::var_os("CUDA_HOME").map_or("/usr/local/cuda".into(), PathBuf::from);
    // Toolkits since 13 keep `nv/` one folder deeper than the wheels do.
    folders.extend([toolkit.join("include"), toolkit.join("include/cccl"), "/usr/include".into()]);
    let needed = [
        ("cuda_runtime_api.h", "nvidia-cuda-runtime"),
        ("crt/host_config.h", "nvidia-cuda-crt"),
        ("nv/target", "nvidia-cuda-cccl"),
        ("cublasLt.h", "nvidia-cublas"),
        ("cusparse.h", "nvidia-cusparse"),
        ("cusolverDn.h", "nvidia-cusolver"),
        ("nccl.h", "nvidia-nccl-cu13"),
    ];
    let missing: Vec<String> = needed
        .iter()
        .filter(|(header, _)| !folders.iter().any(|folder| folder.join(header).exists()))
        .map(|(header, wheel)| format!("{header} (wheel {wheel})"))
        .collect();
    assert!(
        missing.is_empty(),
        "{} has CUDA, but these headers are neither beside it nor in a CUDA toolkit (CUDA_HOME): {}; \
         see trainer/docs/gpu.md",
        root.display(),
        missing.join(", ")
    );
    folders.retain(|folder| folder.is_dir() && folder != Path::new("/usr/include"));
    folders
}
