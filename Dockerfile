# docker build -t vivary . && docker run -p 8080:8080 vivary
# Needs no --privileged and no added capability. BASE is any Debian (from bookworm on) or Ubuntu (from 24.04 on).
ARG BASE=ubuntu:24.04

FROM ${BASE} AS build
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        gcc libc6-dev meson ninja-build pkg-config libmicrohttpd-dev libseccomp-dev libinih-dev nettle-dev python3 python3-dev
COPY . /src
RUN meson setup /build /src --prefix=/usr --buildtype=release && ninja -C /build && DESTDIR=/out meson install -C /build --no-rebuild

FROM ${BASE}
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        libmicrohttpd12 libseccomp2 libinih1 libnettle8 python3 python3-numpy python3-pandas libopenblas0-serial \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY --from=build /out/usr/ /usr/
# A run's /tmp is its own although nothing can be mounted: each process finds what its descriptor 1000 leads to, and those of a run lead to
# the folders of its slot. The service itself, and whoever looks into the container, has no /tmp; TMPDIR is for them.
RUN mkdir -p /app /run/vivary && rm -rf /tmp && ln -s /proc/self/fd/1000 /tmp && ln -s /proc/self/fd/1001 /runtime
ENV VIVARY_HOST=0.0.0.0 VIVARY_SHARE=/app TMPDIR=/var/tmp
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["/usr/bin/vivary", "health"]
ENTRYPOINT ["/usr/bin/vivary"]
CMD ["serve"]
