import compression from 'compression'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test, unique } from './system'

/** A proxy to the address that compresses answers as Express's middleware does. */
async function compressing(target: string): Promise<{ at: string; close: () => void }> {
  const compress = compression({ threshold: 0 })
  const proxy = http.createServer((request, response) => {
    // The middleware is made for Express, and uses only what node:http has.
    compress(request as never, response as never, () => {
      const forward = http.request(new URL(request.url ?? '/', target), { method: request.method, headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(response)
      })
      forward.on('error', () => response.destroy())
      response.on('close', () => forward.destroy())
      request.pipe(forward)
    })
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  return {
    at: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    close: () => {
      proxy.closeAllConnections()
      proxy.close()
    },
  }
}

/** Sends a request as a browser does, and returns the answer when it begins. */
function ask(address: string, accept: string): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    http.get(address, { headers: { Accept: accept, 'Accept-Encoding': 'gzip, deflate, br' } }, resolve).on('error', reject)
  })
}

test('live changes come at once through a proxy that compresses', async ({ api, home }) => {
  const proxy = await compressing(home)
  try {
    const page = await ask(`${proxy.at}/posts`, 'application/json')
    page.resume()
    expect(page.headers['content-encoding'], 'the proxy of this test compresses nothing').toBeDefined()

    const stream = await ask(`${proxy.at}/posts`, 'text/event-stream')
    let text = ''
    stream.setEncoding('utf8').on('data', (part: string) => (text += part))
    expect(stream.headers['content-encoding']).toBeUndefined()
    await expect.poll(() => text).toMatch(/^id: .*\n\n/)
    const { id } = await api.write({ title: unique('Through a proxy') })
    // Well before the next heartbeat, which might flush a buffered change.
    await expect.poll(() => text, { timeout: 10_000 }).toContain(id)
  } finally {
    proxy.close()
  }
})
