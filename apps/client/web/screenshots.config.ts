import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defineConfig } from '@playwright/test'
import { browser } from './tests/browser'

/** Makes the README's screenshots in the folder OUT, from a system without posts. */
export default defineConfig({
  testDir: 'tests',
  testMatch: 'screenshots.ts',
  // Playwright clears this folder, so it cannot be OUT.
  outputDir: join(tmpdir(), 'postbus-screenshots'),
  workers: 1,
  expect: { timeout: 15_000 },
  use: browser,
})
