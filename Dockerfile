# Tried with buildah and podman on stand-ins for the two base images, which could not be fetched: Debian 12 with a program
# that was built before in the place of cargo, and the libraries, users and folders of the final image. The steps, `run` with
# a root that is only read as user 65532, `health`, TERM, HUP, USR2 and a wrong file behaved as said here and in README.md.
#
#   docker build -t plimsoll .
#   docker run --rm -p 8080:8080 plimsoll demo --listen 0.0.0.0:8080
#   docker run --read-only -p 8080:8080 -v "$PWD/conf:/etc/plimsoll:ro" plimsoll      # with conf/plimsoll.yaml

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The cache mounts keep registry and objects between builds; the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin plimsoll \
    && install -D --strip target/release/plimsoll /out/plimsoll

# Distroless: glibc, libgcc and the roots of certificate authorities; no shell, no package manager,
# and user 65532 (`nonroot`).
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/plimsoll /usr/local/bin/plimsoll
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/plimsoll/
# Where `run` looks for plimsoll.yaml second, after the working folder.
WORKDIR /etc/plimsoll
EXPOSE 8080
# TERM drains: give it `drain_delay` and `drain_timeout` together, and a second (docker stop --time; in Kubernetes
# terminationGracePeriodSeconds). As the first process of the container it obeys every signal but USR2: the container would
# end with the process that another took over from, so a new version is a new container.
STOPSIGNAL SIGTERM
# Asks the `admin` address of that file: without one in it the container counts as unhealthy.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/local/bin/plimsoll", "health"]
ENTRYPOINT ["/usr/local/bin/plimsoll"]
CMD ["run"]
