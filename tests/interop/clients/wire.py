"""What the drivers share: a job as one line of JSON on stdin, what happened as lines of JSON on stdout.

Bytes are hexadecimal, null is null. The end of stdin tells a driver that runs without end to stop cleanly.
"""

import json
import sys
import threading

told_to_stop = threading.Event()


def job():
    """The job; from here on the end of stdin sets `told_to_stop`."""
    line = json.loads(sys.stdin.readline())

    def wait():
        while sys.stdin.readline():
            pass
        told_to_stop.set()

    threading.Thread(target=wait, daemon=True).start()
    return line


def say(**fields):
    print(json.dumps(fields), flush=True)


def unhex(text):
    return None if text is None else bytes.fromhex(text)


def enhex(data):
    return None if data is None else bytes(data).hex()


def headers_of(record):
    return [(name, unhex(value)) for name, value in record["headers"]]


def say_record(topic, partition, offset, timestamp, key, value, headers):
    say(
        record=dict(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=timestamp,
            key=enhex(key),
            value=enhex(value),
            headers=[[name, enhex(value)] for name, value in headers or []],
        )
    )
