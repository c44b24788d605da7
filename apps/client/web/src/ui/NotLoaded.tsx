import { Trouble } from './Trouble'

/** Instead of a part of the page that could not be loaded. */
export function NotLoaded() {
  return <Trouble onRetry={() => window.location.reload()}>This part of the page can’t be loaded right now.</Trouble>
}
