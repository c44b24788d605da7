import { queryOptions, useQuery, useQueryClient, type QueryClient } from '@tanstack/react-query'
import { Problem } from '../api/problem'
import { keys } from '../live/keys'
import { readMe, unknown, type Me } from './me'

/** How old the answer may be while the page is visible, and when it becomes visible again, in milliseconds. */
const ages = { visible: 5 * 60_000, again: 60_000 }

/** The delays before the host is asked again after a failure, in milliseconds. */
const waits = { first: 1_500, most: 60_000 }

/** How long a request that writes waits for the answer, in milliseconds. */
const checkWithin = 3_000

const options = (client: QueryClient) =>
  queryOptions({
    queryKey: keys.me,
    queryFn: ({ signal }) => readMe(client.getQueryData<Me>(keys.me), signal),
    staleTime: ages.again,
    gcTime: Infinity,
    refetchOnMount: false,
    retryOnMount: false,
    retryDelay: (failures) => Math.min(waits.first * 2 ** failures, waits.most),
  })

/** Keeps up to date who the visitor is. It is for one component of the page. */
export function useKeepMe(): void {
  useQuery({ ...options(useQueryClient()), refetchInterval: ages.visible, refetchOnWindowFocus: true })
}

/** Who the visitor is. */
export function useMe(): Me {
  const { data = unknown } = useQuery(options(useQueryClient()))
  return data
}

/** Whether the host has said who the visitor is, or fails to. */
export function useMeState(): 'asking' | 'known' | 'failing' {
  const { data, failureCount } = useQuery(options(useQueryClient()))
  return data !== undefined ? 'known' : failureCount > 0 ? 'failing' : 'asking'
}

/** Asks again who the visitor is, after a refusal that may mean that this has changed. */
export function askAgain(client: QueryClient): void {
  void client.invalidateQueries({ queryKey: keys.me })
}

/**
 * Returns a check for before a request that writes: whether the visitor still is the person who the page says they are.
 * The browser forgets a cookie at its end, and without one the request would be a guest's.
 */
export function useCheckMe(): () => Promise<void> {
  const client = useQueryClient()
  return async () => {
    const before = client.getQueryData<Me>(keys.me)
    if (before?.subject === undefined) return
    // Without an answer soon the request goes on: it gets an answer of its own.
    const now = await readMe(before, AbortSignal.timeout(checkWithin)).catch(() => before)
    if (now !== before) client.setQueryData<Me>(keys.me, now)
    if (now.subject !== before.subject) throw new Problem(401, 'Your session has ended. Sign in again.')
  }
}
