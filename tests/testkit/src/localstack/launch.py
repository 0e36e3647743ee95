"""Starts LocalStack for Secrets Manager, KMS and STS: launch.py DIRECTORY PORT documented|uncorrected.

Listens on the loopback address over plain HTTP, keeps its files in DIRECTORY, and calls nobody.
"""

import os
import sys
import tempfile
import uuid
from functools import wraps
from hashlib import sha1
from threading import Lock

directory, port, corrections = sys.argv[1:]
os.environ.update(
    SERVICES="secretsmanager,kms,sts",
    EAGER_SERVICE_LOADING="1",
    # The default server listens on every address.
    GATEWAY_SERVER="hypercorn",
    GATEWAY_LISTEN=f"127.0.0.1:{port}",
    DNS_ADDRESS="0",
    DISABLE_EVENTS="1",
    SKIP_SSL_CERT_DOWNLOAD="1",
    # Inside a container it would take the file system's own directories.
    OVERRIDE_IN_DOCKER="0",
    FILESYSTEM_ROOT=directory,
    LOCALSTACK_VOLUME_DIR=f"{directory}/volume",
)
tempfile.tempdir = directory

if corrections == "documented":
    import documented
    import rotation
from localstack import config
from localstack.aws.skeleton import Skeleton
from localstack.runtime import main
from localstack.runtime.server.hypercorn import HypercornRuntimeServer
from localstack.utils import ssl

one_request = Lock()


def whole_requests(dispatch):
    """LocalStack's secrets have no lock: a list fails while another thread adds a secret or removes one."""

    @wraps(dispatch)
    def wrapped(self, *args, **kwargs):
        if self.service.service_name != "secretsmanager":
            return dispatch(self, *args, **kwargs)
        with one_request:
            return dispatch(self, *args, **kwargs)

    return wrapped


def uuid5(namespace, name):
    """Takes bytes, too, which KMS passes and Python does only since 3.12."""
    name = name.encode() if isinstance(name, str) else name
    return uuid.UUID(bytes=sha1(namespace.bytes + name).digest()[:16], version=5)


def end_without_listener(register):
    """Ends a server whose port is taken; LocalStack would go on."""

    def check(serving):
        if serving.exception():
            print(serving.exception(), flush=True)
            os._exit(1)

    @wraps(register)
    def wrapped(self, *args, **kwargs):
        register(self, *args, **kwargs)
        self._futures[-1].add_done_callback(check)

    return wrapped


Skeleton.dispatch_request = whole_requests(Skeleton.dispatch_request)
uuid.uuid5 = uuid5
HypercornRuntimeServer.register = end_without_listener(HypercornRuntimeServer.register)
# Its own certificate needs an older pyOpenSSL; without one it serves plain HTTP.
ssl.create_ssl_cert = lambda serial_number: (None, None, None)
# The index of all of AWS, which `cargo xtask setup` made; each start would spend 8 s on its own.
config.dirs.static_libs = os.path.join(sys.prefix, "localstack")
main.main()
