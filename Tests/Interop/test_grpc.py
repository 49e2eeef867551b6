"""gRPC through two of our sidecars over mTLS: a grpcio client and a grpcio server."""
import queue
import time
from concurrent import futures

import grpc

import harness as h


class Service(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/t.T/Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "/t.T/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/t.T/Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "/t.T/Count": grpc.unary_stream_rpc_method_handler(self.count),
            "/t.T/Watch": grpc.unary_stream_rpc_method_handler(self.watch),
            "/t.T/Hang": grpc.unary_unary_rpc_method_handler(self.hang),
        }.get(details.method)

    def echo(self, request, context):
        context.set_trailing_metadata((("x-trailer", "kept"), ("x-size", str(len(request)))))
        return request

    def fail(self, request, context):
        context.set_trailing_metadata((("x-trailer", "of a failure"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today – ü")

    def chat(self, requests, context):
        for request in requests:
            yield b"re: " + request
        context.set_trailing_metadata((("x-trailer", "end of chat"),))

    def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    def watch(self, request, context):
        yield b"first"
        end = time.monotonic() + float(request)
        while context.is_active() and time.monotonic() < end:
            time.sleep(0.05)
        yield b"last"

    def hang(self, request, context):
        h.wait(lambda: not context.is_active(), 10)
        return b""


class GRPC(h.Case):
    def setUp(self):
        super().setUp()
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        server.add_generic_rpc_handlers((Service(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(lambda: server.stop(0).wait(5))
        inbound, outbound = h.free_port(), h.free_port()
        self.meshproxy(h.bootstrap(
            [h.listener(inbound, [h.all_to("app", timeout="0s")],
                        tls=h.server_tls("east-shop", h.CLIENT))],
            [h.cluster("app", [port], h2=True)]), "inbound").ready()
        self.meshproxy(h.bootstrap(
            [h.listener(outbound, [h.all_to("shop", timeout="0s")])],
            [h.cluster("shop", [inbound], h2=True, tls=h.client_tls("east-client", h.SHOP))]),
            "outbound").ready()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{outbound}", options=[
            ("grpc.max_receive_message_length", 8 << 20), ("grpc.enable_http_proxy", 0)])
        self.addCleanup(self.channel.close)

    def test_unary(self):
        """Unary calls, small and of 3 MB, with their trailers"""
        call = self.channel.unary_unary("/t.T/Echo")
        for size in (0, 1, 20_000, 3_000_000):
            payload = b"q" * size
            answer, outcome = call.with_call(payload, timeout=20)
            self.assertEqual(answer, payload)
            trailers = dict(outcome.trailing_metadata())
            self.assertEqual((trailers["x-trailer"], trailers["x-size"]), ("kept", str(size)))

    def test_status(self):
        """A status, its message and its trailers come through"""
        with self.assertRaises(grpc.RpcError) as caught:
            self.channel.unary_unary("/t.T/Fail")(b"", timeout=10)
        error = caught.exception
        self.assertEqual(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
        self.assertEqual(error.details(), "not today – ü")
        self.assertEqual(dict(error.trailing_metadata())["x-trailer"], "of a failure")

    def test_unknown_method(self):
        """A method that is not there is UNIMPLEMENTED"""
        with self.assertRaises(grpc.RpcError) as caught:
            self.channel.unary_unary("/t.T/None")(b"", timeout=10)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_bidirectional(self):
        """A conversation: each answer arrives before the next question is asked"""
        questions = queue.Queue()
        answers = self.channel.stream_stream("/t.T/Chat")(iter(questions.get, None), timeout=20)
        for number in range(50):
            questions.put(b"%d" % number)
            self.assertEqual(next(answers), b"re: %d" % number)
        questions.put(None)
        self.assertEqual(list(answers), [])
        self.assertEqual(dict(answers.trailing_metadata())["x-trailer"], "end of chat")

    def test_server_stream(self):
        """Five thousand messages arrive in order"""
        answers = self.channel.unary_stream("/t.T/Count")(b"5000", timeout=20)
        self.assertEqual([int(a) for a in answers], list(range(5000)))

    def test_silent_stream(self):
        """A server that says nothing for eight seconds is not asked so often that it ends the stream"""
        answers = self.channel.unary_stream("/t.T/Watch")(b"8", timeout=20)
        self.assertEqual(list(answers), [b"first", b"last"])

    def test_many_at_once(self):
        """Two hundred calls at once on one connection"""
        call = self.channel.unary_unary("/t.T/Echo")
        started = [call.future(b"%d" % n, timeout=20) for n in range(200)]
        self.assertEqual([s.result() for s in started], [b"%d" % n for n in range(200)])

    def test_deadline(self):
        """A deadline that passes ends the call on time"""
        with self.assertRaises(grpc.RpcError) as caught:
            self.channel.unary_unary("/t.T/Hang")(b"", timeout=0.3)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertEqual(self.channel.unary_unary("/t.T/Echo")(b"on", timeout=5), b"on")
