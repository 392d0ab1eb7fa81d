// What programs do with Node's ws over TLS: check.mjs URL CERTIFICATE TOKEN
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import WebSocket from 'ws'

const [url, file, token] = process.argv.slice(2)
const ca = readFileSync(file)
const within = (what, promise) =>
  Promise.race([promise, new Promise((_, no) => setTimeout(no, 30_000, new Error(`waited in vain for: ${what}`)).unref())])

class Client {
  constructor(options) {
    this.socket = new WebSocket(url, { ca, ...options })
    this.waiting = new Map()
    this.number = 0
    this.gone = new Promise((yes) => this.socket.on('close', (code) => yes(code)))
    this.failed = new Promise((_, no) => this.socket.on('error', no))
    this.failed.catch(() => {})
    this.challenge = new Promise((yes) => {
      this.socket.on('message', (bytes) => {
        const frame = JSON.parse(bytes)
        if (frame.event === 'connect.challenge') yes()
        this.waiting.get(frame.id)?.(frame)
      })
    })
  }

  call(method, params = {}) {
    const id = String(++this.number)
    const answer = new Promise((yes) => this.waiting.set(id, yes))
    this.socket.send(JSON.stringify({ type: 'req', id, method, params }))
    return within(method, Promise.race([answer, this.failed])).then((frame) => {
      assert.ok(frame.ok, JSON.stringify(frame))
      return frame.payload
    })
  }

  static async open(options) {
    const client = new Client(options)
    await within('the challenge', Promise.race([client.challenge, client.failed]))
    await client.call('connect', {
      minProtocol: 3,
      maxProtocol: 3,
      client: { id: 'cli', version: '1', platform: 'linux', mode: 'cli' },
      role: 'operator',
      scopes: ['operator.admin'],
      auth: { token },
    })
    return client
  }

  async close() {
    this.socket.close(1000)
    assert.equal(await within('the end', this.gone), 1000)
  }
}

const checks = {
  async pinned() {
    const pin = new X509Certificate(ca).fingerprint256
    // As programs do that know nothing but the fingerprint.
    const seen = []
    const client = await Client.open({
      ca: undefined,
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      finishRequest: (request) => {
        request.on('socket', (s) => s.on('secureConnect', () => seen.push(s.getPeerCertificate().fingerprint256)))
        request.end()
      },
    })
    assert.deepEqual(seen, [pin])
    await client.close()
  },
  async unknownAuthority() {
    await assert.rejects(Client.open({ ca: undefined }), /self-signed|SELF_SIGNED/)
  },
  async compressionIsOfferedAndNotTaken() {
    const client = await Client.open({ perMessageDeflate: true })
    assert.equal(client.socket.extensions, '')
    await client.close()
  },
  async bigAnswers() {
    const client = await Client.open()
    for (let n = 0; n < 5; n++) assert.ok(JSON.stringify(await client.call('config.schema')).length > 100_000)
    await client.close()
  },
  async bigRequestInFragments() {
    const client = await Client.open()
    const id = 'f'
    const answer = new Promise((yes) => client.waiting.set(id, yes))
    const text = JSON.stringify({ type: 'req', id, method: 'system-event', params: { text: 'x'.repeat(100_000) } })
    for (let at = 0; at < text.length; at += 7000) {
      client.socket.send(text.slice(at, at + 7000), { fin: at + 7000 >= text.length })
    }
    assert.ok((await within('the answer', answer)).ok)
    await client.close()
  },
  async crowd() {
    for (let round = 0; round < 10; round++) {
      const clients = await Promise.all(Array.from({ length: 30 }, () => Client.open()))
      await Promise.all(clients.map((client) => client.call('health').then(() => client.close())))
    }
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
  }
}
process.exit(failed ? 1 : 0)
