"""Clients and instances that speak HTTP/2, by python3-h2; they can also say what nobody may say."""

import socket
import ssl
import struct
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from gateway_rig import DEADLINE
from hyperframe.frame import Frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 2, 3, 4, 6, 7, 8, 9)
END_STREAM, END_HEADERS = 1, 4
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 2, 7, 8, 11


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Answer:
    def __init__(self):
        self.fields = self.trailers = None
        self.informational = []
        self.body = bytearray()
        self.ended = False
        self.reset = None  # the code

    @property
    def status(self):
        return int(self.fields[":status"]) if self.fields else None


class H2Client:
    """A connection; answers by stream."""

    def __init__(self, port, host="127.0.0.1", tls=None, settings=None, take=True):
        self.take = take  # gives the window back as bodies come
        self.sock = socket.create_connection((host, port), timeout=DEADLINE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="shop.test")
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1",
                                           validate_outbound_headers=False,
                                           normalize_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.h2.initiate_connection()
        self.answers = {}
        self.goaways = []  # (last stream, code)
        self.pongs = 0
        self.peer = {}
        self.closed = False
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.raw(data)

    def raw(self, data):
        try:
            self.sock.sendall(data)
        except (ConnectionError, ssl.SSLError):
            self.closed = True

    def request(self, method="GET", path="/", fields=(), body=None, end=True, authority="a", scheme="http"):
        """Gives the stream; its body is sent as far as the window goes."""
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *fields]
        self.headers(head, end and body is None, stream)
        if body is not None:
            self.send(stream, body, end)
        return stream

    def headers(self, fields, end=True, stream=None):
        stream = stream or self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()
        return stream

    def send(self, stream, body, end=False):
        """Waits for window where it must; ends early where the peer does not want it."""
        while body and self.answers[stream].reset is None:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room > 0:
                self.h2.send_data(stream, body[:room])
                self.flush()
                body = body[room:]
            else:
                self.step()
        if end and self.answers[stream].reset is None:
            self.h2.end_stream(stream)
            self.flush()

    def window(self, stream):
        return self.h2.local_flow_control_window(stream)

    def step(self):
        """Reads once, and notes what happened."""
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return
        for e in self.h2.receive_data(data):
            self.note(e)
        self.flush()

    def note(self, e):
        answer = self.answers.get(getattr(e, "stream_id", 0))
        if isinstance(e, h2.events.ConnectionTerminated):
            self.goaways.append((e.last_stream_id, int(e.error_code)))
            if e.error_code == NO_ERROR:  # what runs goes on, which the library does not know
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        elif isinstance(e, h2.events.PingAckReceived):
            self.pongs += 1
        elif isinstance(e, h2.events.RemoteSettingsChanged):
            self.peer.update({int(k): v.new_value for k, v in e.changed_settings.items()})
        elif answer is None:
            pass
        elif isinstance(e, h2.events.InformationalResponseReceived):
            answer.informational.append(dict(e.headers))
        elif isinstance(e, h2.events.ResponseReceived):
            answer.fields = dict(e.headers)
            answer.list = e.headers
        elif isinstance(e, h2.events.DataReceived):
            answer.body += e.data
            if self.take and e.flow_controlled_length:
                self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
        elif isinstance(e, h2.events.TrailersReceived):
            answer.trailers = dict(e.headers)
        elif isinstance(e, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(e, h2.events.StreamReset):
            answer.reset = int(e.error_code)

    def until(self, condition):
        while not condition():
            assert not self.closed, f"the connection ended; {self.goaways}"
            self.step()

    def wait(self, stream):
        answer = self.answers[stream]
        self.until(lambda: answer.ended or answer.reset is not None)
        return answer

    def get(self, *args, **options):
        return self.wait(self.request(*args, **options))

    def ended(self):
        """Reads to the end of the connection. Gives the code of its last GOAWAY; None: there was none.
        By the frames alone, since the library knows the connection as closed by then."""
        data = b""
        code = self.goaways[-1][1] if self.goaways else None
        while True:
            try:
                piece = self.sock.recv(1 << 16)
            except ConnectionError:
                piece = b""
            if not piece:
                break
            data += piece
        while len(data) >= 9:
            f, length = Frame.parse_frame_header(memoryview(data[:9]))
            if f.type == GOAWAY:
                code = struct.unpack(">I", data[9 + 4:9 + 8])[0]
            data = data[9 + length:]
        return code

    def close(self):
        self.sock.close()


class H2Request:
    def __init__(self, fields):
        self.fields = dict(fields)
        self.list = fields
        self.body = bytearray()
        self.trailers = None
        self.ended = False
        self.reset = None


class H2Connection:
    """One connection to a scripted instance. Tests may talk on it at any time: it has a lock."""

    def __init__(self, sock, backend):
        self.sock, self.backend = sock, backend
        self.lock = threading.RLock()
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1",
                                           validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.requests = {}
        self.take = True

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def run(self, settings):
        with self.lock:
            if settings:
                self.h2.local_settings = h2.settings.Settings(client=False, initial_values=settings)
            self.h2.initiate_connection()
            self.flush()
        while True:
            data = self.sock.recv(1 << 16)
            if not data:
                return
            with self.lock:
                for e in self.h2.receive_data(data):
                    self.note(e)
                self.flush()

    def note(self, e):
        stream = getattr(e, "stream_id", 0)
        r = self.requests.get(stream)
        if isinstance(e, h2.events.RequestReceived):
            r = self.requests[stream] = H2Request(e.headers)
            self.backend.requests.append(r)
        elif isinstance(e, h2.events.DataReceived):
            r.body += e.data
            if self.take and e.flow_controlled_length:
                self.h2.acknowledge_received_data(e.flow_controlled_length, stream)
        elif isinstance(e, h2.events.TrailersReceived):
            r.trailers = dict(e.headers)
        elif isinstance(e, h2.events.StreamEnded):
            r.ended = True
        elif isinstance(e, h2.events.StreamReset):
            r.reset = int(e.error_code)
        if r is not None:
            self.backend.handler(self, stream, r, e)

    def answer(self, stream, status=200, fields=(), body=b"", trailers=None):
        with self.lock:
            end = not body and trailers is None
            self.h2.send_headers(stream, [(":status", str(status)), *fields], end_stream=end)
            self.flush()
            if not end:
                self.data(stream, body, trailers)

    def data(self, stream, body, trailers=None, end=True):
        """Of bodies that fit into the window."""
        with self.lock:
            for at in range(0, len(body), 16384):
                last = at + 16384 >= len(body)
                self.h2.send_data(stream, body[at:at + 16384], end_stream=end and last and trailers is None)
            if trailers is not None:
                self.h2.send_headers(stream, trailers, end_stream=True)
            self.flush()

    def reset(self, stream, code):
        with self.lock:
            self.h2.reset_stream(stream, code)
            self.flush()

    def raw(self, data):
        with self.lock:
            self.sock.sendall(data)


def ended(e):
    return isinstance(e, h2.events.StreamEnded)


class H2Backend:
    """An instance that speaks HTTP/2: handler(connection, stream, request, event) for each event of a request."""

    def __init__(self, handler=None, settings=None, listener=None):
        self.handler = handler or self.answer_all
        self.settings = settings
        self.listener = listener or socket.create_server(("127.0.0.1", 0), backlog=512)
        if self.listener.family != socket.AF_UNIX:
            self.port = self.listener.getsockname()[1]
        self.requests = []
        self.connections = []
        self.closed = 0
        threading.Thread(target=self.run, daemon=True).start()

    def answer_all(self, connection, stream, request, event):
        if ended(event):
            connection.answer(stream, 200, [("content-length", "2")], b"ok")

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = H2Connection(sock, self)
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            connection.run(self.settings)
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            connection.sock.close()
            self.closed += 1

    def close(self):
        if self.listener.fileno() < 0:
            return
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for c in self.connections:
            try:
                c.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
