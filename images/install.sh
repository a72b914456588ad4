#!/bin/sh
# Install a family into /opt/kfp-suite without a network: `install.sh libraries CONTEXT`, from
# wheels and hash-locked lists, then `install.sh suite CONTEXT`, what changes more often.
# The same wheels give the same bytes, whenever and wherever that is.
set -eu
context=$2
root=/opt/kfp-suite

# run_pip PYTHON COMMAND ARGUMENT...
run_pip() {
    python=$1
    command=$2
    shift 2
    python3 "$(echo "$context"/wheels/pip-*.whl)/pip" --python "$python" "$command" --quiet \
        --no-cache-dir --no-index --no-deps --find-links "$context/wheels" "$@"
}

libraries() {
    python3 -m venv --without-pip "$root"
    for list in requirements.txt executor.txt; do
        run_pip "$root/bin/python" install --no-compile --require-hashes -r "$context/$list"
    done
    # What comes as a source distribution is compiled; the compiler stays in this stage.
    if [ -d "$context/sources" ]; then
        python3 -m venv --without-pip /tmp/build
        run_pip /tmp/build/bin/python install --require-hashes -r "$context/builder.txt"
        run_pip /tmp/build/bin/python wheel --no-build-isolation -w /tmp/built "$context"/sources/*
        run_pip "$root/bin/python" install --no-compile /tmp/built/*.whl
    fi
    cd "$root"/lib/python3*/site-packages
    # Nobody runs a library's own tests, compiles against it, or asks for AWS services but these.
    find . -type d \( -name tests -o -name testdata \) -prune -exec rm -rf {} +
    rm -rf pyarrow/include tensorflow/include tensorflow/include_package clang
    if [ -d botocore/data ]; then
        find botocore/data -mindepth 1 -maxdepth 1 -type d \
            ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} +
    fi
    # Arrow's own clients: stores are read by theirs.
    rm -f pyarrow/*arrow_flight* pyarrow/_flight* pyarrow/libarrow_python_flight* \
        pyarrow/libarrow_s3* pyarrow/_s3fs*
    # Only the asynchronous twin of the client.
    rm -rf kubernetes/aio kubernetes/e2e_test
    # Symbols are for debuggers. Small libraries gain nothing by losing them.
    find . -name '*.so*' -type f -size +1M -exec strip --strip-unneeded {} + 2>/dev/null || true
}

suite() {
    for wheel in "$context"/suite/*.whl; do
        run_pip "$root/bin/python" install --no-compile "$wheel"
    done
    cd "$root"/lib/python3*/site-packages
}

"$1"
# Bytecode, since the root is read-only when it runs; templates that are no Python stay.
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash \
    -x '/(templates|bad_coding)' . || true
find "$root" -exec touch --no-dereference --date=@0 {} +
