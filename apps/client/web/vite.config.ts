import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'
import type { Plugin, ProxyOptions } from 'vite'

/** What `make run` serves at the client's host, for `npm run dev`: the API, and who the visitor is. */
const proxy: Record<string, ProxyOptions> = { '^/(posts|moderation|auth|me)([/?]|$)': { target: 'http://127.0.0.1:3000' } }

/** Writes a brotli and a gzip form beside each text file of the build, for the host to send. */
function precompress(): Plugin {
  return {
    name: 'precompress',
    apply: 'build',
    writeBundle({ dir = 'dist' }) {
      for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
        const path = join(dir, name)
        if (!/\.(js|css|html|svg)$/.test(name) || !statSync(path).isFile()) continue
        const text = readFileSync(path)
        writeFileSync(`${path}.gz`, gzipSync(text, { level: 9 }))
        writeFileSync(
          `${path}.br`,
          brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } }),
        )
      }
    },
  }
}

export default defineConfig({
  plugins: [react(), precompress()],
  server: { host: '127.0.0.1', proxy },
  preview: { host: '127.0.0.1', proxy },
  build: {
    // light-dark() and content-visibility as they are; these are from May 2024.
    target: ['chrome125', 'firefox126', 'safari18'],
    // Inline nothing: the Content-Security-Policy allows no data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: { include: ['src/**/*.test.ts'] },
})
