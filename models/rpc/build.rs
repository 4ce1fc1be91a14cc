//! Compiles proto/ with protox: a fresh clone builds without protoc.

const PROTOS: [&str; 12] = [
    "bimrpc/bimrpc.proto",
    "grpc/health/v1/health.proto",
    "imrpc/common.proto",
    "imrpc/disk.proto",
    "imrpc/imrpc.proto",
    "imrpc/instance.proto",
    "imrpc/proxy.proto",
    "ptypes/common.proto",
    "ptypes/controller.proto",
    "ptypes/replica.proto",
    "ptypes/syncagent.proto",
    "spdkrpc/spdk.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let mut prost = tonic_prost_build::Config::new();
    prost.btree_map(["."]);
    tonic_prost_build::configure()
        .build_transport(false)
        // An older release's service lacks methods: they answer Unimplemented, as the real one does for a name it does not know.
        .generate_default_stubs(true)
        .include_file("services.rs")
        .compile_fds_with_config(descriptors, prost)?;
    Ok(())
}
