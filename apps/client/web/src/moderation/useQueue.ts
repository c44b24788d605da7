import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import type { Problem } from '../api/problem'
import { keys } from '../live/keys'
import { announce } from '../ui/announce'
import { count } from '../ui/count'
import type { ModeratedComment } from './api'
import { arrivals, readAnew, readMore, withVersions, type Queue, type QueueStatus } from './queue'
import { useWakeUp } from './useWakeUp'

/** How often the queue is read without a wake-up, in milliseconds. */
const every = 30_000

/** The comments of a status, which are read again when something changes. */
export function useQueue(status: QueueStatus) {
  const client = useQueryClient()
  const key = keys.queue(status)
  const known = () => client.getQueryData<Queue>(key)
  /** Adds what was decided while the queue was being read. */
  const current = (queue: Queue): Queue => ({ ...queue, comments: withVersions(queue.comments, known()?.comments ?? []) })
  const query = useQuery({
    queryKey: key,
    queryFn: async ({ signal }) => {
      const queue = current(await readAnew(status, known(), signal))
      const arrived = arrivals(known(), queue, status)
      if (arrived > 0) announce(`${count(arrived, 'new comment')} at the end of the list.`)
      return queue
    },
    gcTime: 0,
    staleTime: 0,
    refetchInterval: every,
  })
  /** Reads after what is being read already, which may have missed the change. To abort that would, again and again, leave the list unread. */
  const readAgain = async () => {
    const read = () => client.refetchQueries({ queryKey: key, exact: true, type: 'active' }, { cancelRefetch: false })
    if (client.isFetching({ queryKey: key, exact: true }) > 0) await read()
    await read()
  }
  useWakeUp(() => void readAgain())
  const more = useMutation<Queue, Problem, Queue>({
    mutationFn: (queue) => readMore(queue),
    onSuccess: (queue) => client.setQueryData<Queue>(key, current(queue)),
  })
  const { data } = query
  return {
    query,
    comments: data?.comments ?? [],
    /** The next page, if there is one. */
    more: data?.next === undefined ? undefined : { load: () => more.mutate(data), loading: more.isPending, failing: more.isError },
    /** Takes a newer version of a comment. */
    take: (comment: ModeratedComment) => client.setQueryData<Queue>(key, (queue) => queue && { ...queue, comments: withVersions(queue.comments, [comment]) }),
  }
}
