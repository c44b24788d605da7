/** The state of a comment in moderation. A newer version of the services may give it others, which count as pending. */
export type Status = 'pending' | 'approved' | 'rejected' | (string & {})

/** A comment as query shows it. Ids are UUIDv7, so they sort by the time at which they were made. */
export interface Comment {
  id: string
  /** Empty if the status is not known. */
  content: string
  status: Status
  /** Why it was rejected. */
  reason?: string
  author?: string
  /** The pseudonym of a person who signed in. Without it a guest chose the name. */
  authorId?: string
  createdAt: string
}

/** A post, without its comments. */
export interface Post {
  id: string
  title: string
  body: string
  /** The name of a person who signed in. A guest's post has none. */
  author?: string
  authorId?: string
  createdAt: string
  commentCount: number
}

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
  author: string
}

/** One change of the live stream. */
export type Change = { sequence: number } & (
  | { type: 'PostCreated'; post: PostWithComments }
  | { type: 'CommentCreated' | 'CommentUpdated'; postId: string; comment: Comment }
)
