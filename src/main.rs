fn main() {
    resin::try_it();
}
