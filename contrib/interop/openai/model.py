#!/usr/bin/env python3
"""A model endpoint in the format of OpenAI's chat completions that does what the last message says.

  model.py PORT-FILE      writes its port there and serves until it is killed

FAIL: 401 as from a provider that refuses the key. FOREVER: silence until the gateway hangs up. SILENT: an answer after
20 s. SLOW: a word every 20 ms. With functions on offer and no result yet: a call. GET /hung-up: connections that
were closed on a silent model. What the model was asked last: GET /last.
"""
import json
import os
import select
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["Hello ", "from ", "the ", "mock ", "model."]
seen = {"hung_up": 0, "last": None}


def text_of(message):
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(p.get("text", "") for p in content)


class Model(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def give(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.give(200, seen)

    def chunk(self, delta, reason=None):
        self.event({"id": "c", "object": "chat.completion.chunk", "choices": [
            {"index": 0, "delta": delta, "finish_reason": reason}]})

    def event(self, value):
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/chat/completions"):
            return self.give(404, {"error": {"message": "no such model here"}})
        seen["last"] = body
        messages = body["messages"]
        asked = next((text_of(m) for m in reversed(messages) if m["role"] == "user"), "")
        if "FAIL" in asked:
            return self.give(401, {"error": {"message": "bad key"}})
        if "FOREVER" in asked:
            select.select([self.connection], [], [], 120)
            seen["hung_up"] += 1
            return None
        if "SILENT" in asked:
            time.sleep(20)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if body.get("tools") and messages[-1]["role"] != "tool":
            self.chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {
                "name": "get_weather", "arguments": '{"city":'}}]})
            self.chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]})
            self.chunk({}, "tool_calls")
        else:
            words = ["It is ", "5 degrees."] if messages[-1]["role"] == "tool" else WORDS
            for word in words:
                time.sleep(0.02 if "SLOW" in asked else 0)
                self.chunk({"content": word})
            self.chunk({}, "stop")
        self.event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}})
        self.wfile.write(b"data: [DONE]\n\n")
        return None


server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
with open(sys.argv[1] + ".new", "w", encoding="ascii") as file:
    file.write(str(server.server_address[1]))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
