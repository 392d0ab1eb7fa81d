#!/usr/bin/env python3
"""What a person does in Open WebUI, by its own API. Called by run.sh: check.py WEBUI-PORT MODEL-PORT"""
import http.client
import json
import sys
import time
import traceback

webui, model = (int(port) for port in sys.argv[1:])
PIXEL = ("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
         "Jggg==")
TEXT = "Hello from the mock model."


def ask(method, path, body=None, port=webui, key=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    return connection, connection.getresponse()


def whole(method, path, body=None, **more):
    answer = ask(method, path, body, **more)[1]
    text = answer.read().decode()
    assert answer.status == 200, f"{answer.status} {text}"
    return json.loads(text)


def chat(messages, **more):
    return {"model": "openclaw", "messages": messages} | more


def said(text):
    return [{"role": "user", "content": text}]


def of_the_model(name):
    return whole("GET", "/", port=model)[name]


key = whole("POST", "/api/v1/auths/signin", {"email": "", "password": ""})["token"]


def models():
    names = [entry["id"] for entry in whole("GET", "/api/models", key=key)["data"]]
    assert "openclaw" in names and "openclaw/main" in names, names


def a_chat_streamed():
    talk = [{"role": "system", "content": "Be brief."}, *said("first"), {"role": "assistant", "content": "an answer"}]
    body = chat(talk + said("second"), stream=True, stream_options={"include_usage": True})
    answer = ask("POST", "/api/chat/completions", body, key=key)[1]
    lines = [line[6:] for line in answer.read().decode().splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", lines
    events = [json.loads(line) for line in lines[:-1]]
    text = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    assert text == TEXT, text
    assert events[-1]["usage"]["completion_tokens"] == 7, events[-1]
    heard = [(m["role"], m["content"]) for m in of_the_model("last")["messages"] if m["role"] != "system"]
    assert [role for role, _ in heard] == ["user", "assistant", "user"], heard
    assert "Be brief." in json.dumps(of_the_model("last")["messages"][0]), "the system prompt is lost"


def a_chat_whole():
    answer = whole("POST", "/api/chat/completions", chat(said("hi"), stream=False), key=key)
    assert answer["choices"][0]["message"]["content"] == TEXT, answer


def an_image():
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    whole("POST", "/api/chat/completions", chat([{"role": "user", "content": parts}], stream=False), key=key)
    assert PIXEL[-30:] in json.dumps(of_the_model("last")), "the model did not see it"


def functions_of_the_client():
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
    answer = whole("POST", "/api/chat/completions", chat(said("weather?"), stream=False, tools=[tool]), key=key)
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather", answer


def the_title_of_a_chat():
    talk = said("hi") + [{"role": "assistant", "content": TEXT}]
    answer = whole("POST", "/api/v1/tasks/title/completions", chat(talk, chat_id="one"), key=key)
    assert answer["choices"][0]["message"]["content"] == TEXT, answer


def a_provider_that_refuses():
    answer = ask("POST", "/api/chat/completions", chat(said("FAIL"), stream=False), key=key)[1]
    text = answer.read().decode()
    assert answer.status >= 400 and "bad key" in text, f"{answer.status} {text}"


def the_stop_button():
    before = of_the_model("hung_up")
    connection = http.client.HTTPConnection("127.0.0.1", webui, timeout=60)
    body = json.dumps(chat(said("FOREVER"), stream=True))
    connection.request("POST", "/api/chat/completions", body,
                       {"Content-Type": "application/json", "Authorization": f"Bearer {key}"})
    deadline = time.monotonic() + 30
    while "FOREVER" not in json.dumps(of_the_model("last")):
        assert time.monotonic() < deadline, "the model was not asked"
        time.sleep(0.1)
    connection.close()
    while of_the_model("hung_up") == before:
        assert time.monotonic() < deadline, "the model is still asked"
        time.sleep(0.1)


failed = 0
for check in [models, a_chat_streamed, a_chat_whole, an_image, functions_of_the_client, the_title_of_a_chat,
              a_provider_that_refuses, the_stop_button]:
    try:
        check()
        print("ok   ", check.__name__)
    except Exception:
        failed = 1
        print("FAIL ", check.__name__)
        traceback.print_exc(file=sys.stdout)
sys.exit(failed)
