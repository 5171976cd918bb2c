"""``aiotask`` for shells: has ``tests.prepared`` fork the command, with the streams of this process.

It runs with ``python -IS`` and imports only what the interpreter has loaded or holds itself, so that it begins in a few
milliseconds. ``TEST_FORKED`` holds the descriptors of the two lines, for commands and for workers.
"""

import _socket
import os
import sys
from _json import encode_basestring_ascii as text

commands, workers = map(int, os.environ.pop("TEST_FORKED").split())
arguments = sys.argv[1:]
env = ",".join(f"{text(name)}:{text(value)}" for name, value in os.environ.items())
request = (
    f'{{"arguments":[{",".join(map(text, arguments))}],"env":{{{env}}},"cwd":{text(os.getcwd())},"session":false}}'
)
line = _socket.socket(fileno=workers if arguments[:1] == ["worker"] else commands)
answers, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
descriptors = b"".join(each.to_bytes(4, sys.byteorder) for each in (0, 1, 2, theirs.fileno()))
line.sendmsg([request.encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
theirs.close()
answers.recv(100)
code = int(answers.recv(100) or b"1")
answers.shutdown(_socket.SHUT_WR)
# Until its process ID is free.
answers.recv(1)
# A shell says 128 and the signal, too.
os._exit(code if code >= 0 else 128 - code)
