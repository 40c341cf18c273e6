//! Generates the clients of resin's control plane from `../proto`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../proto");
    let protos = ["node", "platform"].map(|name| format!("resin/control/v1/{name}.proto"));
    let files = protox::compile(protos, ["../proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
