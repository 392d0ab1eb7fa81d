#!/usr/bin/env python3
"""What programs do with the official Python package against a gateway: check.py BASE-URL MODEL-PORT TOKEN"""
import json
import sys
import time
import traceback
import urllib.request

import openai
from openai import OpenAI

base, model, token = sys.argv[1:]
ai = OpenAI(base_url=base, api_key=token)
HELLO = "Hello from the mock model."
PNG = ("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
FLAT = [{"type": "function", **TOOLS[0]["function"]}]
checks = []


def check(function):
    checks.append(function)
    return function


def say(text):
    return [{"role": "user", "content": text}]


def equal(got, want):
    assert got == want, f"{got!r} in place of {want!r}"


def fails(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def of_the_model(key):
    return json.load(urllib.request.urlopen(f"http://127.0.0.1:{model}/"))[key]


def until(what, condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for: {what}"
        time.sleep(0.02)


@check
def models():
    names = [m.id for m in ai.models.list()]
    assert {"openclaw", "openclaw/default", "openclaw/main"} <= set(names), names
    equal(ai.models.retrieve("openclaw/main").id, "openclaw/main")
    fails(openai.NotFoundError, lambda: ai.models.retrieve("openclaw/nobody"))


@check
def chat():
    done = ai.chat.completions.create(model="openclaw", messages=say("hi"))
    equal((done.choices[0].message.content, done.choices[0].finish_reason), (HELLO, "stop"))
    equal((done.model, done.usage.total_tokens), ("openclaw", 18))


@check
def chat_stream():
    chunks = list(ai.chat.completions.create(model="gpt-4o", messages=say("hi"), stream=True))
    equal("".join(c.choices[0].delta.content or "" for c in chunks), HELLO)
    equal(chunks[-1].choices[0].finish_reason, "stop")
    equal([c.usage for c in chunks if c.usage], [])


@check
def chat_stream_with_usage():
    stream = ai.chat.completions.create(
        model="openclaw", messages=say("hi"), stream=True, stream_options={"include_usage": True})
    last = list(stream)[-1]
    equal((last.choices, last.usage.total_tokens), ([], 18))


@check
def chat_stream_helper():
    with ai.chat.completions.stream(model="openclaw", messages=say("SLOW")) as stream:
        done = stream.get_final_completion()
    equal((done.choices[0].message.content, done.choices[0].finish_reason), (HELLO, "stop"))


@check
def chat_tools():
    messages = say("the weather?")
    asked = ai.chat.completions.create(model="openclaw", messages=messages, tools=TOOLS).choices[0]
    call = asked.message.tool_calls[0]
    equal((asked.finish_reason, call.function.name, json.loads(call.function.arguments)),
          ("tool_calls", "get_weather", {"city": "Oslo"}))
    messages += [asked.message, {"role": "tool", "tool_call_id": call.id, "content": "5"}]
    done = ai.chat.completions.create(model="openclaw", messages=messages, tools=TOOLS).choices[0]
    equal((done.finish_reason, done.message.content), ("stop", "It is 5 degrees."))


@check
def chat_tools_stream():
    name, arguments, reason = "", "", None
    for chunk in ai.chat.completions.create(model="openclaw", messages=say("?"), tools=TOOLS, stream=True):
        reason = chunk.choices[0].finish_reason or reason
        for call in chunk.choices[0].delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    equal((name, json.loads(arguments), reason), ("get_weather", {"city": "Oslo"}, "tool_calls"))
    with ai.chat.completions.stream(model="openclaw", messages=say("?"), tools=TOOLS) as stream:
        equal(stream.get_final_completion().choices[0].message.tool_calls[0].function.name, "get_weather")


@check
def chat_image():
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": PNG}}]
    done = ai.chat.completions.create(model="openclaw", messages=[{"role": "user", "content": content}])
    equal(done.choices[0].message.content, HELLO)
    assert "image_url" in json.dumps(of_the_model("last")), "the model saw no image"


@check
def wrong_key():
    error = fails(openai.AuthenticationError, lambda: OpenAI(base_url=base, api_key="wrong").models.list())
    equal(error.status_code, 401)


@check
def provider_error():
    error = fails(openai.APIStatusError, lambda: ai.chat.completions.create(model="openclaw", messages=say("FAIL")))
    assert error.status_code in (401, 502), error
    fails(openai.APIError, lambda: list(
        ai.chat.completions.create(model="openclaw", messages=say("FAIL"), stream=True)))


@check
def embeddings():
    error = fails(openai.APIStatusError, lambda: ai.embeddings.create(model="openclaw", input="x"))
    assert 400 <= error.status_code < 500, error


@check
def too_large():
    text = "x" * (24 << 20)
    error = fails(openai.APIStatusError, lambda: ai.chat.completions.create(model="openclaw", messages=say(text)))
    equal(error.status_code, 413)
    wrong = OpenAI(base_url=base, api_key="wrong", max_retries=0)
    fails(openai.AuthenticationError, lambda: wrong.chat.completions.create(model="openclaw", messages=say(text)))


@check
def hang_up():
    for stream in (False, True):
        before = of_the_model("hung_up")
        quick = ai.with_options(timeout=0.7, max_retries=0)
        fails(openai.APITimeoutError, lambda: list(
            quick.chat.completions.create(model="openclaw", messages=say("FOREVER"), stream=stream)))
        until("the run to end", lambda: of_the_model("hung_up") > before)


@check
def silent_model():
    done = ai.with_options(max_retries=0).chat.completions.create(model="openclaw", messages=say("SILENT"))
    equal(done.choices[0].message.content, HELLO)


@check
def responses():
    done = ai.responses.create(model="openclaw", input="hi")
    equal((done.status, done.output_text, done.usage.total_tokens), ("completed", HELLO, 18))
    easy = ai.responses.create(model="openclaw", input=say("hi"), instructions="be brief", parallel_tool_calls=False)
    equal(easy.output_text, HELLO)


@check
def responses_stream():
    events = list(ai.responses.create(model="openclaw", input="hi", stream=True))
    equal("".join(e.delta for e in events if e.type == "response.output_text.delta"), HELLO)
    equal((events[0].type, events[-1].type), ("response.created", "response.completed"))
    with ai.responses.stream(model="openclaw", input="SLOW") as stream:
        equal(stream.get_final_response().output_text, HELLO)


@check
def responses_function():
    first = ai.responses.create(model="openclaw", input="the weather?", tools=FLAT)
    call = first.output[-1]
    equal((call.type, call.name, json.loads(call.arguments)), ("function_call", "get_weather", {"city": "Oslo"}))
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "5"}
    done = ai.responses.create(model="openclaw", previous_response_id=first.id, input=[result], tools=FLAT)
    equal(done.output_text, "It is 5 degrees.")


@check
def responses_conversation():
    first = ai.responses.create(model="openclaw", input="remember the word walnut")
    ai.responses.create(model="openclaw", previous_response_id=first.id, input="which word?")
    assert "walnut" in json.dumps(of_the_model("last")), "the model was not told what came before"


@check
def responses_image():
    content = [{"type": "input_text", "text": "what is it?"}, {"type": "input_image", "image_url": PNG}]
    done = ai.responses.create(model="openclaw", input=[{"role": "user", "content": content}])
    equal(done.output_text, HELLO)


failed = 0
for one in checks:
    began = time.monotonic()
    try:
        one()
        print(f"ok    python {one.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    except Exception as error:  # whatever it is, the others go on
        failed += 1
        print(f"FAIL  python {one.__name__}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        traceback.print_exc(limit=-2)
sys.exit(1 if failed else 0)
