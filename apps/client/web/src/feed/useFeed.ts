import { skipToken, useInfiniteQuery, useQuery, useQueryClient } from '@tanstack/react-query'
import { useMemo } from 'react'
import { feedPath, readFeed, type FeedPage } from '../api/pages'
import { heldPosts, shownPosts, type Arrived } from '../live/fold'
import { keys } from '../live/keys'
import { useLive } from '../live/useLive'

const none: Arrived[] = []

/** The list of posts: the pages read so far, the posts that arrived live, and a way to read the next page. */
export function useFeed() {
  const live = useLive()
  const client = useQueryClient()
  const query = useInfiniteQuery({
    queryKey: keys.feed,
    queryFn: async ({ pageParam, signal }) => {
      const page = await readFeed(pageParam, live.position, signal)
      live.begin(page)
      return page
    },
    initialPageParam: feedPath,
    getNextPageParam: (last: FeedPage) => last.next,
  })
  const { data: arrived = none } = useQuery({ queryKey: keys.arrived, queryFn: skipToken, initialData: () => client.getQueryData<Arrived[]>(keys.arrived) ?? none })
  const pages = query.data?.pages
  const posts = useMemo(() => shownPosts(pages ?? [], arrived), [pages, arrived])
  const held = useMemo(() => heldPosts(pages ?? [], arrived), [pages, arrived])
  return { ...query, posts, held }
}
