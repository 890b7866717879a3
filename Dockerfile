# The image of the mover: one static program and a link to it, no shell, no other file.
#
#   docker build -t volmover .                                    builds from the sources
#   docker build -t volmover --build-arg PROGRAM=prebuilt .       takes what .ci/rootfs laid out in dist/<amd64|arm64>
#   docker build -t volmover --build-arg RUST_IMAGE=IMAGE .       builds in an image of your own: Rust, gcc, libc6-dev
#
# All need BuildKit, which leaves out the stage that is not asked for: Docker has it since 23, before with
# DOCKER_BUILDKIT=1. All know --platform linux/arm64; on another machine the first and the third take an emulator.
ARG PROGRAM=built
ARG RUST_IMAGE=rust:1-slim-bookworm

FROM ${RUST_IMAGE} AS built
WORKDIR /volmover
COPY . .
RUN .ci/rootfs "$(.ci/binary)" /out

FROM scratch AS prebuilt
ARG TARGETARCH
COPY dist/${TARGETARCH}/ /out/

FROM ${PROGRAM} AS program

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="volmover" \
      org.opencontainers.image.description="Backs up Kubernetes volumes into restic repositories" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=program /out/ /
USER 65534:65534
ENTRYPOINT ["/usr/local/bin/volmover"]
