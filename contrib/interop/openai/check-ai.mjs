// What programs do with the AI SDK (npm: ai, @ai-sdk/openai) against a gateway:
//
//   node check-ai.mjs GATEWAY-PORT MODEL-PORT TOKEN
//
// It reads both interfaces more strictly than the official package does, and refers to what it had from a response in
// place of sending it again.
import assert from 'node:assert/strict';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';

const [baseURL, model, token] = process.argv.slice(2);
const openai = createOpenAI({ baseURL, apiKey: token });
const HELLO = 'Hello from the mock model.';
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = {
  get_weather: tool({ description: 'The weather', inputSchema: jsonSchema(parameters), execute: async () => '5' }),
};
const last = async () => (await (await fetch(`http://127.0.0.1:${model}/`)).json()).last;

async function stream(asked) {
  const going = streamText({ model: asked, prompt: 'SLOW', maxRetries: 0 });
  let text = '';
  for await (const piece of going.textStream) text += piece;
  assert.deepEqual([text, await going.finishReason, (await going.usage).totalTokens], [HELLO, 'stop', 18]);
}

async function conversation(asked) {
  const messages = [{ role: 'user', content: 'the weather?' }];
  const done = await generateText({ model: asked, messages, tools, stopWhen: stepCountIs(3), maxRetries: 0 });
  assert.deepEqual([done.text, done.steps.length], ['It is 5 degrees.', 2]);
  messages.push(...done.response.messages, { role: 'user', content: 'and now?' });
  await generateText({ model: asked, messages, maxRetries: 0 });
  const told = (await last()).messages.slice(1).map((message) => [message.role, message.content ?? '']);
  assert.deepEqual(told, [
    ['user', 'the weather?'], ['assistant', ''], ['tool', '5'], ['assistant', 'It is 5 degrees.'], ['user', 'and now?'],
  ]);
}

async function failure(asked) {
  await assert.rejects(generateText({ model: asked, prompt: 'FAIL', maxRetries: 0 }), { statusCode: 401 });
}

let failed = 0;
for (const asked of [openai.chat('openclaw'), openai.responses('openclaw')]) {
  for (const check of [stream, conversation, failure]) {
    const name = `ai-sdk ${asked.provider} ${check.name}`;
    try {
      await check(asked);
      console.log(`ok    ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name}: ${error.stack}`);
    }
  }
}
process.exit(failed ? 1 : 0);
