/** The state of a comment in moderation. A newer version of the services may give it others, which count as pending. */
export type Status = 'pending' | 'approved' | 'rejected' | 'held' | (string & {})

/**
 * A comment. Of one that is not approved all but its author see the id and the status alone. Ids are UUIDv7, so they sort by
 * the time at which they were made.
 */
export interface Comment {
  id: string
  content?: string
  status: Status
  /** Why it was rejected or held. */
  reason?: string
  author?: string
  /** The pseudonym of a person who signed in. Without it a guest chose the name. */
  authorId?: string
  createdAt?: string
}

/** A comment as its author gets it when it is created. */
export interface CreatedComment extends Comment {
  /** Shows later that a guest wrote it. */
  receipt?: string
}

/** How many comments a post has of each status. A status without any is missing. */
export type CommentCounts = Partial<Record<Status, number>>

/** A post in a list. */
export interface Summary {
  id: string
  title: string
  /** The beginning of its text, as one paragraph. */
  excerpt: string
  /** The name of a person who signed in. A guest's post has none. */
  author?: string
  authorId?: string
  createdAt: string
  /** Missing until the services have counted the comments of a post that was just created. */
  commentCounts?: CommentCounts
  /** Whether comments are taken. It is missing until a moderator has decided that: they are. */
  commenting?: Commenting
}

/** A post, without its comments. */
export interface Post extends Omit<Summary, 'excerpt'> {
  body: string
}

export type Commenting = 'open' | 'closed'

/** A post with some of its comments, newest first. */
export interface PostWithComments extends Post {
  comments: Comment[]
}

/** What the visitor sends to create a post. */
export interface NewPost {
  title: string
  body: string
}

/** What the visitor sends to create a comment. */
export interface NewComment {
  content: string
  /** The name that a guest chose. The name of a person who is signed in is the issuer's. */
  author?: string
}

/** One change of the live stream. */
export type Change = { sequence: number } & (
  | { type: 'PostCreated'; post: PostWithComments }
  | { type: 'CommentCreated' | 'CommentUpdated'; postId: string; comment: Comment; commentCounts?: CommentCounts }
  | { type: 'PostCommentingChanged'; postId: string; commenting: Commenting }
)
