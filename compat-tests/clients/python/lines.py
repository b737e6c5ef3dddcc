"""The loop that the Python client programs share: one JSON request a line in, one answer a line out."""
import json
import sys
import traceback


class Refused(Exception):
    """A failure with Kafka's error code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Unsupported(Refused):
    def __init__(self, operation):
        super().__init__(35, f"{operation} is not in this library")


def unhex(text):
    return None if text is None else bytes.fromhex(text)


def hexed(data):
    return None if data is None else bytes(data).hex()


def headers_in(headers):
    return [(name, unhex(value)) for name, value in headers]


def headers_out(headers):
    return [[name, hexed(value)] for name, value in headers or []]


def serve(operations, code_of):
    """Answers requests until the input ends. `code_of` finds Kafka's error code in the library's exceptions."""
    for line in sys.stdin:
        request = json.loads(line)
        operation = request.pop("op")
        if "from" in request:  # a keyword cannot name an argument
            request["start"] = request.pop("from")
        try:
            handler = getattr(operations, operation, None)
            if handler is None:
                raise Unsupported(operation)
            answer = {"ok": handler(**request) or {}}
        except Refused as refused:
            answer = {"code": refused.code, "message": str(refused)}
        except Exception as error:  # every failure is an answer; the scenario judges it
            traceback.print_exc()
            answer = {"code": code_of(error), "message": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
