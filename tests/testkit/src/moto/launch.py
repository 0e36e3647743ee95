"""Starts moto's server on the loopback address: launch.py PORT.

The packages of tests/requirements-moto.txt are beside those of LocalStack, whose own moto has the same name.
"""

import os
import sys
from threading import Lock

sys.path.insert(0, os.path.join(sys.prefix, "moto"))

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

application = DomainDispatcherApplication(create_backend_app)
one_request = Lock()


def whole_requests(environ, start_response):
    """moto's state has no lock of its own; AWS's requests succeed or fail as a whole."""
    with one_request:
        return list(application(environ, start_response))


run_simple("127.0.0.1", int(sys.argv[1]), whole_requests, threaded=True)
