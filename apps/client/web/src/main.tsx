import '@fontsource-variable/figtree/wght.css'
import '@fontsource/newsreader/latin-400.css'
import './ui/base.css'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { App } from './App'
import { Problem } from './api/problem'
import { Live } from './live/live'
import { LiveContext } from './live/useLive'
import { applyTheme } from './ui/theme'
import { isOwn } from './write/own'

/** The delay before a failed read is retried, in milliseconds. */
const readAgainAfter = 1_500

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // The live stream keeps the cache fresh.
      staleTime: Infinity,
      refetchOnWindowFocus: false,
      refetchOnReconnect: false,
      networkMode: 'always',
      retry: (_, cause) => cause instanceof Problem && cause.transient,
      retryDelay: readAgainAfter,
    },
    mutations: { networkMode: 'always' },
  },
})
const live = new Live(client, isOwn)

applyTheme()
const root = document.getElementById('root')
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <LiveContext value={live}>
          <App />
        </LiveContext>
      </QueryClientProvider>
    </StrictMode>,
  )
}
