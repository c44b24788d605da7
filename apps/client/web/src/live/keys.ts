/** The keys of the query cache, and the type of what each key holds. */
export const keys = {
  /** The pages of the list of posts: InfiniteData<FeedPage>. */
  feed: ['feed'] as const,
  /** Posts that arrived live, and the visitor's own: Arrived[]. */
  arrived: ['arrived'] as const,
  /** The pages of a post's comments: InfiniteData<CommentsPage>. */
  post: (id: string) => ['post', id] as const,
  /** The visitor's own comments on a post, which query may not have yet: Comment[]. */
  ownComments: (postId: string) => ['own-comments', postId] as const,
  /** A comment as its author sees it: Comment. */
  ownComment: (id: string) => ['own-comment', id] as const,
  /** Who the visitor is: Me. */
  me: ['me'] as const,
  /** Where the live stream begins if no other answer began it: the number of the log. */
  beginning: ['beginning'] as const,
  /** The comments of a status, for moderators: Queue. */
  queue: (status: string) => ['queue', status] as const,
  /** The title of a post: string. */
  title: (postId: string) => ['title', postId] as const,
  /** The policy and its version: Versioned. */
  policy: ['policy'] as const,
  /** The people who are blocked: Blocking[]. */
  blocked: ['blocked'] as const,
}
