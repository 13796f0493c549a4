"""A gRPC server whose messages are plain bytes, so that nothing has to be generated."""

import concurrent.futures
import sys

import grpc


def unary(message, context):
    context.set_trailing_metadata((("x-length", str(len(message))),))
    return message


def fail(message, context):
    context.set_trailing_metadata((("x-reason", "asked for"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: ä %")


def both(messages, context):
    count = 0
    for message in messages:
        count += 1
        yield message
    context.set_trailing_metadata((("x-count", str(count)),))


def many(message, context):
    for number in range(int(message)):
        yield b"%d" % number


def gather(messages, context):
    return b"%d" % sum(len(message) for message in messages)


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Many": grpc.unary_stream_rpc_method_handler(many),
    "Gather": grpc.stream_unary_rpc_method_handler(gather),
}
server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("real.Echo", handlers),))
if not server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}"):
    sys.exit("the port is taken")
server.start()
server.wait_for_termination()
