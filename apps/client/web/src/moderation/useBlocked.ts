import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import type { Problem } from '../api/problem'
import { keys } from '../live/keys'
import { announce } from '../ui/announce'
import { readBlocked, setBlocked, type Blocking } from './api'

/** How old the list may be when a part of the page begins to show it, in milliseconds. Without it, each row of the queue would ask. */
const freshFor = 30_000

/** The people who are blocked, and a way to block somebody or no longer. */
export function useBlocked() {
  const client = useQueryClient()
  const query = useQuery({ queryKey: keys.blocked, queryFn: ({ signal }) => readBlocked(signal), staleTime: freshFor })
  const change = useMutation<Blocking, Problem, { subject: string; to: boolean }>({
    mutationFn: ({ subject, to }) => setBlocked(subject, to),
    onSuccess: (stands) => {
      announce(stands.blocked ? 'Blocked.' : 'Unblocked.')
      // An answer that is under way may be older.
      void client.cancelQueries({ queryKey: keys.blocked })
      client.setQueryData<Blocking[]>(keys.blocked, (before) => before && withBlocking(before, stands))
    },
  })
  return { query, change, isBlocked: (subject: string) => query.data?.some((one) => one.subject === subject) ?? false }
}

/** The list, newest first, after a decision on one of its people. */
export function withBlocking(blocked: Blocking[], decided: Blocking): Blocking[] {
  const others = blocked.filter(({ subject }) => subject !== decided.subject)
  return decided.blocked ? [decided, ...others] : others
}
