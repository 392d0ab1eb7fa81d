// What programs do with the official Node package against a gateway: check.mjs BASE-URL MODEL-PORT TOKEN
import assert from 'node:assert/strict'
import OpenAI from 'openai'

const [baseURL, model, token] = process.argv.slice(2)
const ai = new OpenAI({ baseURL, apiKey: token })
const HELLO = 'Hello from the mock model.'
const PNG =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
const weather = {
  name: 'get_weather',
  description: 'The weather',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
}
const tools = [{ type: 'function', function: weather }]
const flat = [{ type: 'function', ...weather, strict: false }]
const say = (content) => [{ role: 'user', content }]
const ofTheModel = async (key) => (await (await fetch(`http://127.0.0.1:${model}/`)).json())[key]
const fails = async (kind, call) => {
  try {
    await call()
  } catch (error) {
    assert.ok(error instanceof kind, `${error?.constructor?.name} in place of ${kind.name}: ${error}`)
    return error
  }
  assert.fail(`no ${kind.name}`)
}
const until = async (what, condition) => {
  for (const end = Date.now() + 5000; !(await condition()); ) {
    assert.ok(Date.now() < end, `waited in vain for: ${what}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}
const all = async (stream) => {
  const items = []
  for await (const item of stream) items.push(item)
  return items
}

const checks = {
  async models() {
    const names = (await all(ai.models.list())).map((m) => m.id)
    for (const name of ['openclaw', 'openclaw/default', 'openclaw/main']) assert.ok(names.includes(name), names)
    assert.equal((await ai.models.retrieve('openclaw/main')).id, 'openclaw/main')
    await fails(OpenAI.NotFoundError, () => ai.models.retrieve('openclaw/nobody'))
  },
  async chat() {
    const done = await ai.chat.completions.create({ model: 'openclaw', messages: say('hi') })
    assert.equal(done.choices[0].message.content, HELLO)
    assert.deepEqual([done.choices[0].finish_reason, done.usage.total_tokens], ['stop', 18])
  },
  async chatStream() {
    const chunks = await all(
      await ai.chat.completions.create({
        model: 'gpt-4o',
        messages: say('hi'),
        stream: true,
        stream_options: { include_usage: true },
      }),
    )
    assert.equal(chunks.map((c) => c.choices[0]?.delta?.content ?? '').join(''), HELLO)
    assert.equal(chunks.at(-1).usage.total_tokens, 18)
    assert.equal(chunks.at(-2).choices[0].finish_reason, 'stop')
  },
  async chatStreamHelper() {
    const ask = { model: 'openclaw', messages: say('SLOW') }
    assert.equal(await ai.chat.completions.stream(ask).finalContent(), HELLO)
    const done = await ai.chat.completions.stream(ask).finalChatCompletion()
    assert.equal(done.choices[0].finish_reason, 'stop')
  },
  async chatTools() {
    const messages = say('the weather?')
    const { finish_reason, message } = (await ai.chat.completions.create({ model: 'openclaw', messages, tools }))
      .choices[0]
    assert.equal(finish_reason, 'tool_calls')
    assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'Oslo' })
    messages.push(message, { role: 'tool', tool_call_id: message.tool_calls[0].id, content: '5' })
    const done = await ai.chat.completions.create({ model: 'openclaw', messages, tools })
    assert.equal(done.choices[0].message.content, 'It is 5 degrees.')
  },
  async chatToolsStream() {
    const stream = ai.chat.completions.stream({ model: 'openclaw', messages: say('?'), tools })
    const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0]
    assert.equal(finish_reason, 'tool_calls')
    assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'Oslo' })
  },
  async runTools() {
    const functions = [
      {
        type: 'function',
        function: { ...weather, function: ({ city }) => `${city}: 5`, parse: JSON.parse },
      },
    ]
    const runner = ai.chat.completions.runTools({ model: 'openclaw', messages: say('?'), tools: functions })
    assert.equal(await runner.finalContent(), 'It is 5 degrees.')
  },
  async chatImage() {
    const content = [
      { type: 'text', text: 'what is it?' },
      { type: 'image_url', image_url: { url: PNG } },
    ]
    const done = await ai.chat.completions.create({ model: 'openclaw', messages: say(content) })
    assert.equal(done.choices[0].message.content, HELLO)
  },
  async wrongKey() {
    const wrong = new OpenAI({ baseURL, apiKey: 'wrong' })
    await fails(OpenAI.AuthenticationError, () => wrong.chat.completions.create({ messages: say('hi') }))
  },
  async providerError() {
    const ask = { model: 'openclaw', messages: say('FAIL') }
    const error = await fails(OpenAI.APIError, () => ai.chat.completions.create(ask))
    assert.ok([401, 502].includes(error.status), error)
    await fails(OpenAI.APIError, async () => all(await ai.chat.completions.create({ ...ask, stream: true })))
  },
  async embeddings() {
    const error = await fails(OpenAI.APIError, () => ai.embeddings.create({ model: 'openclaw', input: 'x' }))
    assert.ok(error.status >= 400 && error.status < 500, error)
  },
  async tooLarge() {
    const ask = { model: 'openclaw', messages: say('x'.repeat(24 << 20)) }
    const error = await fails(OpenAI.APIError, () => ai.chat.completions.create(ask, { maxRetries: 0 }))
    assert.equal(error.status, 413, error)
    const wrong = new OpenAI({ baseURL, apiKey: 'wrong', maxRetries: 0 })
    await fails(OpenAI.AuthenticationError, () => wrong.chat.completions.create(ask))
  },
  async hangUp() {
    for (const stream of [false, true]) {
      const before = await ofTheModel('hung_up')
      const leave = new AbortController()
      const ask = { model: 'openclaw', messages: say('FOREVER'), stream }
      setTimeout(() => leave.abort(), 500)
      await fails(OpenAI.APIUserAbortError, async () => {
        const got = await ai.chat.completions.create(ask, { signal: leave.signal })
        if (stream) await all(got)
        leave.signal.throwIfAborted()
      }).catch((error) => {
        // A stream that was begun ends without an error when it is aborted.
        if (!stream || !leave.signal.aborted) throw error
      })
      await until('the run to end', async () => (await ofTheModel('hung_up')) > before)
    }
  },
  async silentModel() {
    const ask = { model: 'openclaw', messages: say('SILENT') }
    const done = await ai.chat.completions.create(ask, { maxRetries: 0 })
    assert.equal(done.choices[0].message.content, HELLO)
  },
  async responses() {
    const done = await ai.responses.create({ model: 'openclaw', input: 'hi' })
    assert.deepEqual([done.status, done.output_text, done.usage.total_tokens], ['completed', HELLO, 18])
  },
  async responsesStream() {
    const events = await all(await ai.responses.create({ model: 'openclaw', input: 'hi', stream: true }))
    assert.deepEqual([events[0].type, events.at(-1).type], ['response.created', 'response.completed'])
    const done = await ai.responses.stream({ model: 'openclaw', input: 'SLOW' }).finalResponse()
    assert.equal(done.output_text, HELLO)
  },
  async responsesFunction() {
    const first = await ai.responses.create({ model: 'openclaw', input: 'the weather?', tools: flat })
    const call = first.output.at(-1)
    assert.deepEqual([call.type, call.name, JSON.parse(call.arguments)], ['function_call', 'get_weather', { city: 'Oslo' }])
    const input = [{ type: 'function_call_output', call_id: call.call_id, output: '5' }]
    const done = await ai.responses.create({ model: 'openclaw', previous_response_id: first.id, input, tools: flat })
    assert.equal(done.output_text, 'It is 5 degrees.')
  },
}

let failed = 0
for (const [name, check] of Object.entries(checks)) {
  const began = Date.now()
  try {
    await check()
    console.log(`ok    node ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`)
  } catch (error) {
    failed += 1
    console.log(`FAIL  node ${name}: ${String(error?.stack ?? error).slice(0, 800)}`)
    if (error?.cause) console.log(`      cause: ${error.cause}`)
  }
}
process.exit(failed ? 1 : 0)
