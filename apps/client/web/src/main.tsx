import '@fontsource-variable/figtree/wght.css'
import '@fontsource/newsreader/latin-400.css'
import './ui/base.css'
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { App } from './App'
import { Problem, readAgainAfter } from './api/problem'
import { Live } from './live/live'
import { keys } from './live/keys'
import { LiveContext } from './live/useLive'
import { takeFailure } from './people/failure'
import { askAgain } from './people/useMe'
import { applyTheme } from './ui/theme'
import { isOwn } from './write/own'

/** A refusal may mean that the session has ended, or that somebody has another role now. */
function notice(cause: unknown): void {
  if (cause instanceof Problem && (cause.status === 401 || cause.status === 403)) askAgain(client)
}

const client = new QueryClient({
  queryCache: new QueryCache({
    onError: (cause, { queryKey }) => {
      if (queryKey[0] !== keys.me[0]) notice(cause)
    },
  }),
  mutationCache: new MutationCache({ onError: notice }),
  defaultOptions: {
    queries: {
      // The live stream keeps the cache fresh.
      staleTime: Infinity,
      refetchOnWindowFocus: false,
      refetchOnReconnect: false,
      networkMode: 'always',
      retry: (_, cause) => cause instanceof Problem && cause.transient,
      retryDelay: (_, cause) => readAgainAfter(cause),
    },
    mutations: { networkMode: 'always' },
  },
})
const live = new Live(client, isOwn)

const failure = takeFailure()
applyTheme()
const root = document.getElementById('root')
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <LiveContext value={live}>
          <App failure={failure} />
        </LiveContext>
      </QueryClientProvider>
    </StrictMode>,
  )
}
