"""grpcio through the proxy, HTTP/2 on both sides, with messages of plain bytes."""

import concurrent.futures
import time

import grpc

from checks import check, expect

WITHIN = 60


def channel(stage):
    return grpc.insecure_channel(f"127.0.0.1:{stage.ports['web']}", options=[("grpc.max_receive_message_length", -1)])


@check("gRPC, 1000 unary calls")
def unary(stage):
    with channel(stage) as wire:
        call = wire.unary_unary("/real.Echo/Unary")
        start = time.monotonic()
        for number in range(1000):
            message = b"%d " % number * (number % 50)
            answer, said = call.with_call(message, timeout=WITHIN)
            expect(answer == message, f"call {number}: {len(answer)} bytes")
            expect(said.code() is grpc.StatusCode.OK, said.code())
            expect(dict(said.trailing_metadata()).get("x-length") == str(len(message)), said.trailing_metadata())
        took = time.monotonic() - start
    return f"1000 equal with status and trailers, {took * 1000:.0f} us each"


@check("gRPC, 1000 unary calls, 16 at once")
def unary_at_once(stage):
    with channel(stage) as wire, concurrent.futures.ThreadPoolExecutor(16) as pool:
        call = wire.unary_unary("/real.Echo/Unary")
        answers = pool.map(lambda n: call(b"%d" % n * 1000, timeout=WITHIN), range(1000))
        expect(all(answer == b"%d" % n * 1000 for n, answer in enumerate(answers)), "another answer")
    return "1000 equal"


@check("gRPC, bidirectional, 1000 messages")
def bidirectional(stage):
    with channel(stage) as wire:
        call = wire.stream_stream("/real.Echo/Both")
        answers = call((b"%d" % n * 100 for n in range(1000)), timeout=WITHIN)
        count = 0
        for count, answer in enumerate(answers, 1):
            expect(answer == b"%d" % (count - 1) * 100, f"message {count} differs")
        expect(count == 1000, f"{count} messages")
        expect(answers.code() is grpc.StatusCode.OK, answers.code())
        expect(dict(answers.trailing_metadata()).get("x-count") == "1000", answers.trailing_metadata())
    return "1000 equal, status OK, trailer x-count 1000; " + ping_pong(stage)


def ping_pong(stage):
    """Each message is sent only after the answer to the one before, so that nothing may be held back."""
    with channel(stage) as wire:
        turns = concurrent.futures.Future()
        import queue
        outgoing = queue.Queue()
        answers = wire.stream_stream("/real.Echo/Both")(iter(outgoing.get, None), timeout=WITHIN)
        start = time.monotonic()
        for number in range(200):
            outgoing.put(b"turn %d" % number)
            expect(next(answers) == b"turn %d" % number, f"turn {number}")
        outgoing.put(None)
        expect(next(answers, None) is None, "more than was sent")
        return f"200 turns, {(time.monotonic() - start) * 5000:.0f} us each"


@check("gRPC, streams one way, large")
def one_way(stage):
    with channel(stage) as wire:
        answers = list(wire.unary_stream("/real.Echo/Many")(b"1000", timeout=WITHIN))
        expect(answers == [b"%d" % n for n in range(1000)], f"{len(answers)} answers")
        total = wire.stream_unary("/real.Echo/Gather")((bytes(65536) for _ in range(500)), timeout=WITHIN)
        expect(total == b"%d" % (65536 * 500), total)
        large = bytes(range(256)) * (3 << 12)
        expect(wire.unary_unary("/real.Echo/Unary")(large, timeout=WITHIN) == large, "3 MiB differ")
    return "1000 down, 500 x 64 KiB up, 3 MiB in one message"


@check("gRPC, error status")
def errors(stage):
    words = []
    with channel(stage) as wire:
        for method, code in (("Fail", grpc.StatusCode.FAILED_PRECONDITION), ("None", grpc.StatusCode.UNIMPLEMENTED)):
            try:
                wire.unary_unary(f"/real.Echo/{method}")(b"x", timeout=WITHIN)
                expect(False, f"{method} succeeded")
            except grpc.RpcError as error:
                expect(error.code() is code, f"{method}: {error.code()} {error.details()}")
                if method == "Fail":
                    expect(error.details() == "no: ä %", error.details())
                    expect(dict(error.trailing_metadata()).get("x-reason") == "asked for", error.trailing_metadata())
                words.append(error.code().name)
    return f"{', '.join(words)}; details and trailers equal"
