import { lazy, Suspense, useEffect, useRef } from 'react'
import { Route, Switch, useLocation } from 'wouter'
import { FeedPage } from './feed/FeedPage'
import type { Failure } from './people/failure'
import { Notices } from './people/Notices'
import { useKeepMe } from './people/useMe'
import { PostPage } from './post/PostPage'
import { Announcer } from './ui/announce'
import { Header } from './ui/Header'
import { NothingHere } from './ui/NothingHere'
import { NotLoaded } from './ui/NotLoaded'
import { Waiting } from './ui/Waiting'

/** Readers do not load what is for moderators. */
const ModerationPage = lazy(() =>
  import('./moderation/ModerationPage').then(
    ({ ModerationPage }) => ({ default: ModerationPage }),
    () => ({ default: NotLoaded }),
  ),
)

/** The page. It shows why somebody could not sign in who is just back from that. */
export function App({ failure }: { failure: Failure | undefined }) {
  const main = useRef<HTMLElement>(null)
  useFocusOnNewPage(main)
  useKeepMe()
  return (
    <>
      <a className="skip" href="#content">
        Skip to content
      </a>
      <Header />
      <main id="content" ref={main} tabIndex={-1}>
        <Notices failure={failure} />
        <Switch>
          <Route path="/" component={FeedPage} />
          <Route path="/p/:id">{({ id }) => <PostPage key={id} id={id} />}</Route>
          <Route path="/moderate/:view?">
            {({ view }) => (
              <Suspense fallback={<Waiting>Loading…</Waiting>}>
                <ModerationPage view={view} />
              </Suspense>
            )}
          </Route>
          <Route component={NothingHere} />
        </Switch>
      </main>
      <Announcer />
    </>
  )
}

/** The link that the visitor followed, and its position in the window, in pixels. */
interface Exit {
  href: string
  top: number
}

/**
 * After a link within the page, the view begins at its top, and the focus moves there for screen readers. After
 * going back, the focus returns to the link that the visitor followed. The browser itself restores pixels,
 * which is not enough: elements far outside the window have no reliable height.
 */
function useFocusOnNewPage(main: React.RefObject<HTMLElement | null>): void {
  const [path] = useLocation()
  const shown = useRef(path)
  const followed = useRef<string>(undefined)
  const exits = useRef(new Map<string, Exit>())
  useEffect(() => {
    const note = ({ target }: MouseEvent) => {
      const link = target instanceof Element && target.closest('a')
      if (!link) return
      const href = link.getAttribute('href') ?? ''
      followed.current = href
      exits.current.set(shown.current, { href, top: link.getBoundingClientRect().top })
    }
    // In the capture phase: the router handles the click too, and may remove the link.
    window.addEventListener('click', note, true)
    return () => window.removeEventListener('click', note, true)
  }, [])
  useEffect(() => {
    if (shown.current === path) return
    shown.current = path
    if (followed.current === path) {
      window.scrollTo(0, 0)
      main.current?.focus({ preventScroll: true })
    } else {
      const exit = exits.current.get(path)
      const link = exit && main.current?.querySelector<HTMLElement>(`a[href="${CSS.escape(exit.href)}"]`)
      if (exit && link) {
        link.focus({ preventScroll: true })
        // The browser restores its own scroll position after this effect and before the next frame.
        requestAnimationFrame(() => window.scrollBy(0, link.getBoundingClientRect().top - exit.top))
      }
    }
    followed.current = undefined
  }, [path, main])
}
