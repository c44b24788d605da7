import { capital } from './capital'
import { Trouble } from './Trouble'
import { Waiting } from './Waiting'

interface Props {
  /** The state of the read, as a query has it. */
  query: { data: unknown; failureCount: number; refetch: () => unknown }
  /** What is being read, as in "the comments". */
  what: string
}

/** What is shown of a read that has not succeeded yet, or not again. */
export function Reading({ query, what }: Props) {
  const failing = query.failureCount > 0
  if (query.data === undefined && !failing) return <Waiting>Reading {what}…</Waiting>
  if (!failing) return null
  const said = query.data === undefined ? `${capital(what)} can’t be read right now.` : `What you see of ${what} may be old: it can’t be read again right now.`
  return <Trouble onRetry={() => void query.refetch()}>{said}</Trouble>
}
