import { defineConfig } from '@playwright/test'
import { browser } from './tests/browser'

/** The browser tests. They need a whole system, which apps/tools/e2e/browser_test.go starts. */
export default defineConfig({
  testDir: 'tests',
  outputDir: process.env.OUT ?? 'test-results',
  forbidOnly: process.env.CI !== undefined,
  // The tests stop and start services that all of them use.
  workers: 1,
  timeout: 120_000,
  expect: { timeout: 15_000 },
  // No traces, which take a third of the time. `--trace retain-on-failure` makes them.
  use: browser,
})
