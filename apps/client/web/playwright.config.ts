import { defineConfig } from '@playwright/test'
import { browser } from './tests/browser'

/** The browser tests. They run against a whole system, which apps/tools/e2e/browser_test.go starts for them. */
export default defineConfig({
  testDir: 'tests',
  outputDir: process.env.OUT ?? 'test-results',
  forbidOnly: process.env.CI !== undefined,
  // They stop and start the services that all of them use.
  workers: 1,
  timeout: 120_000,
  expect: { timeout: 15_000 },
  use: { ...browser, trace: 'retain-on-failure' },
})
